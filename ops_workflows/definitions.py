"""All that Dagster sees: each domain's definitions, merged."""

import dagster as dg

# The modules, not what is in them: Dagster refuses a module with several Definitions at its top level.
from ops_workflows.analytics import defs as analytics
from ops_workflows.backup import defs as backup
from ops_workflows.cache import defs as cache
from ops_workflows.proof import defs as proof
from ops_workflows.restore import defs as restore
from ops_workflows.run_history import defs as run_history
from ops_workflows.schema import defs as schema
from ops_workflows.tables import defs as tables

defs = dg.Definitions.merge(
    analytics.defs, backup.defs, cache.defs, proof.defs, restore.defs, run_history.defs, schema.defs, tables.defs
)

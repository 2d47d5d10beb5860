"""`python -m ops_workflows` is the `ops` command."""

from ops_workflows.cli import main

if __name__ == "__main__":
    main()

-- Removes the heartbeats with their rows.
drop table ops.heartbeat;

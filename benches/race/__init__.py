"""The race: cosmount and others that mount buckets, on one local service, in one run, with one report.

`scripts/bench` begins it. `workloads` says what is done, `contenders` who does it, `schedule` in which order; `mount`, `server` and
`processes` see to what runs, `access_log` and `measuring` to what is counted, `report` and `plots` to what is told.
"""

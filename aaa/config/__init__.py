"""From YAML to objects: the schema, checks, what values mean, what a config is allowed to run, and what it builds."""

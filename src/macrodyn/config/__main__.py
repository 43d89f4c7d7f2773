"""``python -m macrodyn.config`` prints the JSON schema that stands in workflow/schemas."""

from macrodyn.config.models import json_schema

if __name__ == "__main__":
    print(json_schema())

"""``python -m macrodyn.config`` prints the JSON schema that stands in workflow/schemas."""

from macrodyn.config.models import METHOD, json_schema
from macrodyn.methods.registry import find_method

if __name__ == "__main__":
    print(json_schema(find_method(METHOD).Run))

"""``python -m macrodyn.config [METHOD]`` prints the JSON schema that stands in workflow/schemas."""

import sys

from macrodyn.config.models import METHOD, json_schema
from macrodyn.methods.registry import find_method

if __name__ == "__main__":
    print(json_schema(find_method(sys.argv[1] if len(sys.argv) > 1 else METHOD).Run))

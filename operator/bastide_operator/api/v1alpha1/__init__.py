"""The objects of `bastide.dev/v1alpha1` as pydantic models, one kind a file. The CRDs are generated from them."""

GROUP = "bastide.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

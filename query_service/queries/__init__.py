"""The query types, as every door and every client speaks them."""

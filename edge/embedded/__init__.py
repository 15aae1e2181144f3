"""The broker and the object store that `imhearing up` starts where none is configured."""

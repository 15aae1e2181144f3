"""What `imhearing up` starts where nothing is configured, a broker and an object store, and keeps alive."""

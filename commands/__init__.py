"""The sub-commands of `imhearing`, one file each; each is imported only when it runs."""

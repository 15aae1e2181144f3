"""The contract with the outside world, written as text files: `scripts/contract DIR`.

What stands there comes through public doors wherever one exists: the command line, files, sockets. `product.py` holds
every import of the product but `imhearing` itself, and no output names a Python module, class or function.
"""

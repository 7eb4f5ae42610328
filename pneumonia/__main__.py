"""Run the console script as ``python -m pneumonia``."""

from pneumonia.cli.main import main

if __name__ == "__main__":  # a process pool's children import this module too
    main()

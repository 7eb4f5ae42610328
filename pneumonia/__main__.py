"""``python -m pneumonia`` is the console script."""

from pneumonia.cli.main import main

if __name__ == "__main__":  # a process pool's children import this module too
    main()

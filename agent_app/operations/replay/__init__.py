"""The replay check: recorded runs go in, what the code of today would do with them comes out."""

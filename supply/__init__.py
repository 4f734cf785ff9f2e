"""What we are made of: images, packages, advisories; commands of the Makefile."""

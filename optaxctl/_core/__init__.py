"""The shape everything else is built from; import its modules, not the package."""

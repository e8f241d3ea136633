"""How a controller meets an optimizer; import the names from `optaxctl`."""

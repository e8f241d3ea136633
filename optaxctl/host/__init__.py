"""What touches the disk or waits for the device; import its modules."""

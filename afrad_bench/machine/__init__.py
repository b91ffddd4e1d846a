"""Facts about the machine: packages and devices, free memory, peak memory."""

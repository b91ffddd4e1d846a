"""What is known of the machine: packages and devices, free memory, peak memory."""

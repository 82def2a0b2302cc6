"""NetServ: code where the traffic passes (thesis chapters 5 to 9)."""

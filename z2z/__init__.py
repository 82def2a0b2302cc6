"""Zeroconf-to-Zeroconf: carries DNS-SD services between subnets through a DHT (thesis chapter 4)."""

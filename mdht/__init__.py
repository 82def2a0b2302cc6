"""The DHT people run: signed records with leases over the overlays of `dhtboot` (thesis chapter 3)."""

"""Where service items are put: the embedded mDHT, a stream of JSON lines, or memory."""

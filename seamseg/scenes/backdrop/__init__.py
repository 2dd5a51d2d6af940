"""What lies behind and under the objects: sky, horizon, ground."""

"""Background of a scene: sky, horizon and ground."""

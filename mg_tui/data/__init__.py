"""Open, recognise, map and check datasets and their images. Faces and the engine read data through this room only."""

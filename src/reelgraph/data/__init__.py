"""From files to a `Dataset`: sources, preparation, side features."""

"""The stores: a module each, or a folder where one takes several."""

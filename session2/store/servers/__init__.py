"""What stores on a server have in common: connections that are good or gone, changes that are applied once."""

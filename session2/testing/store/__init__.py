"""What it means that a store works, as tests of its primitives and of sessions over them: `StoreSuite`."""

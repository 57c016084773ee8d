"""Other generations and other names: nothing in here is imported unless somebody asks for it."""

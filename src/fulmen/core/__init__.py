"""What users subclass: modules, data modules, and the hooks of both."""

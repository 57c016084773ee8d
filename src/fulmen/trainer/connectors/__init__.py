"""Parts of a Trainer under the names by which other libraries know them: each a view, made when it is asked for."""

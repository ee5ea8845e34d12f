"""One run of a recipe, from its images to its report, in a folder that can be resumed."""

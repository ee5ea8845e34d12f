"""Where images come from: folder trees, the embedded emoji benchmark, splits, the decoded store."""

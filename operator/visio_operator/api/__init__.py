"""What users write and read: the models of the API, the CRDs made from them, and the ladder of releases."""

"""A DICOM node: receives radiographs by C-STORE, segments them, and sends the results to a PACS."""

"""Client of a DICOMweb server: find chest X-rays without a result, segment them, and store the results beside them."""

"""What a file may hold before a decoder reads it: sizes, parts and lengths, checked on its headers."""

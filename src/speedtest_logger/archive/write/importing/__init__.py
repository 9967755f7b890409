"""import: what people already have becomes records, units put right, each measurement once however often it is read.

One rule: a row is taken only under a format that more than one of its columns shows, whose speeds are found under that
format's names in that format's unit. Everything else is refused, named and counted, and is never a failed test.

    reading   a file's bytes as rows, whatever its compression, encoding, delimiter; text.py does CSV and JSON
    formats   which format a row has; catalogue.py is the table of them
    records   a row as a record: the engine's own parser reads it, so units are put right in one place (engines/)
    columns   the same for thousands of rows of a CSV at once
    run       all files into the dataset, or only counted
"""

"""Pictures in files of others, read where they lie: FFCV files and WebDataset tars.

What is made of them is an index: a split like any other (see dataset.py) but for its shards, which are the files
themselves, named by their full paths. It is made once for a file as it is (path, length and time of change) and kept
in the cache folder; noise plans go there too, nothing beside the files. Everything that reads a split reads an index.

- An FFCV file is indexed from its tables alone: no picture is read, and there are no checksums. A picture that is
  damaged ends a run where a decoder refuses it.
- Tars have to be read once, since pictures tell their size in their own headers; so each picture gets its xxh3 too.
"""

"""Synthesis of dialogs: from captions, transcripts, boxes and questions of single media to multi-turn conversations.

`gather` reads what is known of each medium, `jobs` plans the dialogs, a generator writes them (`templates` offline, or
a language model behind an `endpoint`), `filters` decides which are kept, `run` ties it together and can be killed and
continued at any moment. The kinds of dialogs are those of MMMModal, Muffin's UniMM-Chat and LLaVA (`kinds`).
"""

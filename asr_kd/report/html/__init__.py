"""The one self-contained HTML report: figures, speakers, confusions, transcripts side by side."""

"""What every room uses: seeds, picture files, progress bars."""

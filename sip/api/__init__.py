"""What `import sip` offers to other programs; each name is imported when it is used."""

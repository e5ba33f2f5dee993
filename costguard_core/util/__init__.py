"""Small tools without any rule of Costguard: ids, URLs, bounded maps, the background worker."""

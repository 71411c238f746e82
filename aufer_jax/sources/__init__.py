"""Reading what others wrote: folders, zips, images, videos, tables, landmark files, AU tracks."""

@echo off
rem PromptPilot's backups by hand, as its users have always typed them:
rem
rem   scripts\backup_restore.bat backup
rem   scripts\backup_restore.bat restore backups\promptpilot_backup_20250823_103000.sql
rem   scripts\backup_restore.bat list
rem
rem DATABASE_URL    the database            (default sqlite:///./data/promptpilot.db)
rem BACKUP_DIR      where backups are kept  (default .\backups)
rem RETENTION_DAYS  when set, a backup then removes backups that are older than so many days
rem PYTHON          the Python to use       (default python; 3.9 or newer)
rem
rem Further options go to the dbfleet command, which does the work; its --help explains them.
rem
rem Delayed expansion stays off, so that a ! in a path is data; paths stand in quotes, so that & and
rem spaces are. There are no labels and no blocks: the one is unsafe without carriage returns, the
rem other ends at any closing bracket of an argument.
setlocal DisableDelayedExpansion

if not defined PYTHON set "PYTHON=python"
if not defined DATABASE_URL set "DATABASE_URL=sqlite:///./data/promptpilot.db"
if not defined BACKUP_DIR set "BACKUP_DIR=.\backups"

set RUN=
if exist "%~dp0..\plugins\module_utils\dbfleet\__main__.py" set RUN=-m dbfleet
if defined RUN set "PYTHONPATH=%~dp0..\plugins\module_utils"
if exist "%~dp0dbfleet.pyz" set RUN="%~dp0dbfleet.pyz"
if exist "%~dp0..\build\dbfleet.pyz" set RUN="%~dp0..\build\dbfleet.pyz"
if not defined RUN echo %~nx0: dbfleet.pyz is neither in the build folder nor beside this script 1>&2
if not defined RUN echo   remedy: build it with scripts\build_pyz.py in a checkout, and copy it beside this script 1>&2
if not defined RUN exit /b 2

if "%~1"=="help" echo usage: %~nx0 backup, restore FILE or list; then options of dbfleet, such as --json
if "%~1"=="help" exit /b 0
if "%~1"=="list" "%PYTHON%" %RUN% list --name promptpilot %2 %3 %4 %5 %6 %7 %8 %9
if "%~1"=="list" exit /b %ERRORLEVEL%

rem The database that is replaced is kept beside the restored one.
if "%~1"=="restore" if "%~2"=="" echo usage: %~nx0 restore FILE 1>&2
if "%~1"=="restore" if "%~2"=="" exit /b 2
if "%~1"=="restore" "%PYTHON%" %RUN% restore --name promptpilot --replace %3 %4 %5 %6 %7 %8 %9 -- "%~2"
if "%~1"=="restore" exit /b %ERRORLEVEL%

if not "%~1"=="backup" echo usage: %~nx0 backup, restore FILE or list; then options of dbfleet, such as --json 1>&2
if not "%~1"=="backup" exit /b 2
"%PYTHON%" %RUN% backup --name promptpilot %2 %3 %4 %5 %6 %7 %8 %9
if not "%ERRORLEVEL%"=="0" exit /b %ERRORLEVEL%
if defined RETENTION_DAYS "%PYTHON%" %RUN% prune --name promptpilot
exit /b %ERRORLEVEL%

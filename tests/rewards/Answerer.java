import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;

/** Answers every line with a line, and misbehaves when told to. */
public class Answerer {
  public static void main(String[] arguments) throws Exception {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] words = line.split(" ");
      switch (words[0]) {
        case "die" -> {
          System.err.println("Exception: told to die");
          System.err.println("\tat the line that says so");
          System.exit(3);
        }
        case "die-once" -> {
          if (!Files.exists(Path.of(words[1]))) {
            Files.createFile(Path.of(words[1]));
            System.exit(4);
          }
          System.out.println("alive");
        }
        case "hang" -> Thread.sleep(1000000);
        case "sleep" -> {
          Thread.sleep(Integer.parseInt(words[1]));
          System.out.println("slept");
        }
        case "twice" -> System.out.println("one\ntwo");
        case "noise" -> {
          System.err.println("noise ".repeat(200000));
          System.out.println("was loud");
        }
        case "pid" -> System.out.println(ProcessHandle.current().pid());
        default -> System.out.println("<" + line + ">");
      }
    }
  }
}
